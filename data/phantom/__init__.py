"""`phantom`: drawn faces whose landmarks are known exactly, so that anybody can run the main job.

`data.phantom.drawing` draws them, as a function of a seed and an index; each of the three splits has its own
seed. A landmark under the occluder has weight zero. No download, no licence.
"""
