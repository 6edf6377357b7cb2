"""What the networks are: the papers' tables, lowered to absolute blocks, and their cost. No torch here."""
