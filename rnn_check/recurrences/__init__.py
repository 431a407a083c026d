"""What should the numbers be?"""
