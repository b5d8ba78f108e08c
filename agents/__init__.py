"""
Recipes for training agents, and what ``train_agent.py`` does with them.

``agents.recipe.load_recipe`` reads a recipe and ``agents.build.build_model`` makes the model of it.
"""
