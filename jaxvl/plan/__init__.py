"""What a training step takes on machines that are not here: compiled, counted and priced.

`targets` names the machines, `program` has the step, `hlo` reads what the compiler made of it.
"""
