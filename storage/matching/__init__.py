"""What a search means: attributes, kinds of matching, conditions in SQL (PS3.4 C.2.2). Pure."""
