"""Database and price file of cost-optimizer."""
