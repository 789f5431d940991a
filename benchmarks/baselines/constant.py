"""Uvicorn and FastAPI alone: what is left when a service does nothing."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/constant")
async def constant() -> dict[str, str]:
    """Answer the same thing to everybody."""
    return {"answer": "constant"}
