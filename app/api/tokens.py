"""`/v1/tokens`: who may do what, where the service asks for a token."""

import logging
from typing import Annotated

from fastapi import APIRouter, Path

from app.deps import ADMIN, CallerDep, DatabaseDep, NowDep, TokensDep
from app.services import tokens as token_service
from app.services.tokens import NewToken, TokenRequest, TokensView

router = APIRouter(prefix="/v1", tags=["tokens"], dependencies=[ADMIN])

TokenId = Annotated[str, Path(description="Id of the token", max_length=64, examples=["7d1f0b3a9c52e864"])]

_log = logging.getLogger(__name__)


@router.get("/tokens", summary="List tokens")
def list_tokens(database: DatabaseDep) -> TokensView:
    """Every token that was made and not revoked, newest first, without its text. The setting's is not among them."""
    with database.read() as session:
        return token_service.list_tokens(session)


@router.post("/tokens", status_code=201, summary="Make a token")
def create_token(body: TokenRequest, database: DatabaseDep, now: NowDep, caller: CallerDep) -> NewToken:
    """Makes a token with these scopes. Its text is in this answer and nowhere else: the service keeps a digest."""
    made = database.write(lambda session: token_service.create(session, body, now))
    _log.info(
        "a token was made", extra={"token": made.id, "name_given": made.name, "scopes": made.scopes, "by": caller.name}
    )
    return made


@router.delete("/tokens/{token_id}", status_code=204, summary="Revoke a token")
def revoke_token(token_id: TokenId, database: DatabaseDep, tokens: TokensDep, caller: CallerDep) -> None:
    """Refuses a token from now on (other backend processes within 5 s) and ends the sessions opened with it."""
    database.write(lambda session: token_service.revoke(session, token_id))
    tokens.forget()
    _log.info("a token was revoked", extra={"token": token_id, "by": caller.name})
