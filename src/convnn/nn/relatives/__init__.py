"""Neighbourhoods of other papers, made of the same parts: who is selected, how they weigh, how they are aggregated."""
