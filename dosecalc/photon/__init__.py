"""Photon dose: fluence, TERMA and transport."""
