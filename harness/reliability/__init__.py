"""Crashes, power cuts, disk trouble and damage, put to a store on purpose, and counted."""
