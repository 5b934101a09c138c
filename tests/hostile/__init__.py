"""Hostile and broken model files: a crafted corpus, mutations of sound files, interrupted writers, random graphs."""
