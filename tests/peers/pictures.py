"""Pillow's results of the operations of AutoAugment.

Standard input: {"pictures": [{"size": [width, height], "mode": "RGB" or "L", "pixels": [byte]}], "operations": [[name, amount]]}
Standard output: for each picture, for each operation: [byte]
"""

import json
import sys

from PIL import Image, ImageEnhance, ImageOps

FILL = {"L": 128, "RGB": (128, 128, 128)}


def affine(matrix):
    return lambda p, a: p.transform(p.size, Image.Transform.AFFINE, matrix(a), fillcolor=FILL[p.mode])


def enhanced(kind):
    return lambda p, a: kind(p).enhance(a)


OPERATIONS = {
    "shear-x": affine(lambda a: (1, a, 0, 0, 1, 0)),
    "shear-y": affine(lambda a: (1, 0, 0, a, 1, 0)),
    "translate-x": affine(lambda a: (1, 0, a, 0, 1, 0)),
    "translate-y": affine(lambda a: (1, 0, 0, 0, 1, a)),
    "rotate": lambda p, a: p.rotate(a, fillcolor=FILL[p.mode]),
    "auto-contrast": lambda p, a: ImageOps.autocontrast(p),
    "invert": lambda p, a: ImageOps.invert(p),
    "equalize": lambda p, a: ImageOps.equalize(p),
    "solarize": lambda p, a: ImageOps.solarize(p, a),
    "posterize": lambda p, a: ImageOps.posterize(p, int(a)),
    "contrast": enhanced(ImageEnhance.Contrast),
    "color": enhanced(ImageEnhance.Color),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}


def picture(record):
    return Image.frombytes(record["mode"], tuple(record["size"]), bytes(record["pixels"]))


request = json.load(sys.stdin)
pictures = [picture(record) for record in request["pictures"]]
answer = [[list(OPERATIONS[name](p.copy(), amount).tobytes()) for name, amount in request["operations"]] for p in pictures]
json.dump(answer, sys.stdout)
