"""Pixel data: where frames lie, how they are decoded and encoded, in processes of their own."""
