"""Small applications packed as Flower packs them."""

import io
import zipfile

PROJECT = """
[project]
name = "tiny"
version = "{version}"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[tool.flwr.app]
publisher = "nobody"

[tool.flwr.app.components]
serverapp = "tiny.app:server"
clientapp = "tiny.app:app"

[tool.flwr.app.config.study]
name = "tiny"
seed = {seed}
"""


def project(*, version="1.0", dependencies=(), seed=7) -> str:
    listed = ", ".join(f'"{each}"' for each in dependencies)
    return PROJECT.format(version=version, dependencies=listed, seed=seed)


def pack(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(".info/CONTENT", "")
    return content.getvalue()
