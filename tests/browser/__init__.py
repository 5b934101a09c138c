"""Tests that drive a real JupyterLab in a headless Chromium, on loopback only."""
