"""Do random models of the layers that there are compute what they should?"""
