"""Songs and shot lists: made, and the user's own."""
