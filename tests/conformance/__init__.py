"""Conformance: whole test-suites of others, run through the workbench. ``make conformance`` runs all of it."""
