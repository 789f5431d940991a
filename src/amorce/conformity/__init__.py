"""The requirements that an application is judged by."""
