"""Figures from rows and records: matplotlib, one house style."""
