"""The audio backend: front ends, networks, data sets, files and pictures of sound."""
