"""Models of what requests may hold, and the parts of the OpenAPI description that FastAPI cannot derive from code."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

RAW = ("application/octet-stream", "video/mp4")  # in the description; all of video/ are taken
PROBLEM = "application/problem+json"

_Count = Annotated[int | None, Field(ge=0, lt=10**18)]
_Name = Annotated[str | None, Field(min_length=1, max_length=200)]


class Fields(BaseModel):
    """What may be told of a clip: columns of manifests. The last four matter to runs with the context alone."""

    model_config = ConfigDict(extra="forbid")

    challenge: _Name = Field(None, description="which dance; without it nothing is expected of the clip")
    creator_id: _Name = Field(None, description="who uploaded it")
    uploaded_at: str | None = Field(None, min_length=1, max_length=64, description="ISO 8601, or a number since 1970")
    followers: _Count = Field(None, description="of the creator")
    creator_likes: _Count = Field(None, description="of all videos of the creator together")
    creator_videos: _Count = Field(None, description="how many videos the creator has")

    def cells(self) -> dict[str, str]:
        """Cells of a manifest."""
        return {name: str(value) for name, value in self if value is not None}


class ScoreUri(Fields):
    """A clip that the service fetches."""

    uri: str = Field(min_length=1, max_length=4096, description="matches a pattern of --allow-uri")


FIELDS = tuple(Fields.model_fields)


def request_body() -> dict[str, Any]:
    """The body of POST /score."""
    binary = {"type": "string", "format": "binary"}
    form = Fields.model_json_schema()
    form = form | {"properties": {"clip": binary, **form["properties"]}, "required": ["clip"], "title": "ScoreForm"}
    return {
        "required": True,
        "content": {
            **{kind: {"schema": binary} for kind in RAW},
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": ScoreUri.model_json_schema()},
        },
    }


def complete(description: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description, with errors in the type that they are sent in."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {PROBLEM: response["content"].pop("application/json")}
    return description
