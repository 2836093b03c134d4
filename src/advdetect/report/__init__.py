"""The report: findings, tables and figures on one page."""
