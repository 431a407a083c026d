"""Does each step follow from the one before?"""
