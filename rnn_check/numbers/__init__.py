"""How far may a floating-point number be off?"""
