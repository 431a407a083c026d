"""What is asserted, on whose word?"""
