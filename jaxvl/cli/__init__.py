"""The commands, `jaxvl COMMAND`, in the order in which a person needs them."""

# Each is a module of this package with `main(arguments)`; the line is what `jaxvl --help` shows.
COMMANDS = {
    "prepare": "store images and captions as a data set: Scenes, or a folder of your own",
    "train": "train the experiment of a configuration file, or continue it",
    "evaluate": "score a run on a split, on another data set or on a published benchmark",
    "explain": "draw which image region each word of a sentence refers to",
    "negatives": "write hard negatives of a data set's captions",
    "convert": "make a run of published weights (Hugging Face, open_clip, ALBEF)",
    "export": "write a run as a folder for PyTorch, proven equal",
    "sweep": "train and evaluate every row of a table of experiments",
    "soup": "average the weights of two runs, and score every mix",
}
