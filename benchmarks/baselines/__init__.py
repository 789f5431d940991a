"""The services that the rendered one is compared with: each as its own documentation writes it."""
