"""The operator schemas of the onnx package.

Standard input: nothing that matters
Standard output: [{"domain", "name", "version", "inputs": [[name, arity]], "outputs": [[name, arity]], "attributes": {name: [type, default]}}]
"""

import json

from onnx import defs
from onnx.helper import get_attribute_value


def parameters(formal):
    return [[p.name, p.option.name] for p in formal]


def default(attribute):
    value = get_attribute_value(attribute.default_value) if attribute.default_value.name else None
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, (int, float)) else None


schemas = [
    {
        "domain": schema.domain,
        "name": schema.name,
        "version": schema.since_version,
        "inputs": parameters(schema.inputs),
        "outputs": parameters(schema.outputs),
        "attributes": {name: [a.type.name, default(a)] for name, a in schema.attributes.items()},
    }
    for schema in defs.get_all_schemas_with_history()
]
print(json.dumps(schemas))
