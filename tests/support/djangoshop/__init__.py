"""A Django app whose models bear stamps, in part."""
