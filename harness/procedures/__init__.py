"""Runbooks of docs/operations, carried out step by step as they are written."""
