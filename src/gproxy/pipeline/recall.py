"""Conversations kept here: a request that names an earlier answer is given what came before it.

    request ──previous_response_id──► keeper ──chain──► request that says the whole conversation itself
    answer's last events ──keep──► keeper                 (after that, nobody on the way knows the difference)

Where the provider keeps its answers itself, only whose an answer is and who has it is kept: then the request goes to
that very credential, as it is, and never for somebody else. It is the one reading of the database on the path of a
request, for requests that ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.errors import Failure, Kind, Refused
from gproxy.ledger.store import StoreUnavailable
from gproxy.pipeline.exchange import Continues, Exchange, Pin
from gproxy.pipeline.ports import Keeper
from gproxy.protocols.openai_responses import kept as k
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.route import Candidate, Resolution
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.translator import Translator
from gproxy.wire.json import JsonProblem, dumps, fields, patch
from gproxy.wire.peek import Peek, peek

FIELD: Final = "previous_response_id"
AWAY: Final = Failure(
    Kind.OVERLOADED, "kept responses cannot be read: the database does not answer. Try again", retry_after=2.0
)
"""What a caller is told whose conversation cannot be read at the moment."""
LONGEST_ID: Final = 200
"""Characters of an id: what the column holds."""


async def recall(x: Exchange, asked: Peek, keeper: Keeper) -> Peek:
    """Put what came before into the body, and read the body anew; as it was when nothing of it is kept here.

    Raises `Refused`: 400 when the answer is not this user's, not there any more or the conversation is too long.
    """
    named = asked.previous_response_id or ""
    own = k.is_own(named)
    if not own and (not keeper.on or not named or len(named) > LONGEST_ID or "\0" in named):
        return asked
    assert x.principal is not None
    try:
        with x.interruptible():
            chain = await keeper.chain(x.principal.user_id, named)
    except StoreUnavailable:
        raise Refused(AWAY) from None
    if not own and not chain.responses and not chain.too_long and not chain.others:
        return asked  # whoever gave it out may know it
    _refuse(chain, named, keeper)
    last = chain.responses[-1]
    if last.provider_name is not None:
        x.pin = Pin(named, last.provider_name, last.credential_id or "")
        return asked
    said = x.body
    try:
        x.body = k.continued(said, chain.responses)
    except JsonProblem as problem:
        raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
    x.continues = Continues(named, last.conversation_id, said)
    return peek(x.body)


def may_refer(x: Exchange, resolution: Resolution) -> bool:
    """Whether the input may refer to items that are kept here: never where the first provider asked keeps its own."""
    if resolution.candidates[0].provider.vendor.keeps_responses:
        return False
    return b'"item_reference"' in x.body


async def look_up(x: Exchange, keeper: Keeper) -> Peek:
    """Put the items of kept answers in the places of references to them, and read the body anew.

    Raises `Refused`: 400 naming the reference to what is not there, or not this user's.
    """
    assert x.principal is not None
    found: dict[int, Any] = {}
    try:
        for holder, places in k.references(x.body).items():
            with x.interruptible():
                kept = await keeper.one(x.principal.user_id, holder)
            for place, named in places:
                item = None if kept is None else k.item_of(kept, named)
                if item is None:
                    text = f"there is no kept item {named!r}: send the item itself instead of a reference to it"
                    raise Refused(Failure(Kind.INVALID_REQUEST, text, param=f"input[{place}].id"))
                found[place] = item
        if found:
            x.body = k.dereferenced(x.body, found)
    except StoreUnavailable:
        raise Refused(AWAY) from None
    except JsonProblem as problem:
        raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
    return peek(x.body)


def _refuse(chain: k.Chain, named: str, keeper: Keeper) -> None:
    if chain.too_long:
        text = f"the conversation of {named!r} is too long to go on from: start a new one with a summary in `input`"
    elif chain.broken:
        text = f"an earlier part of the conversation of {named!r} was deleted: send what is needed of it in `input`"
    elif chain.responses:
        return
    else:
        text = f"there is no kept response {named!r}" + ("" if keeper.on else "; this gateway keeps none")
        text += f": send the whole conversation in `input` instead of `{FIELD}`"
    raise Refused(Failure(Kind.INVALID_REQUEST, text, param=FIELD))


def pinned(resolution: Resolution, pin: Pin) -> Resolution:
    """The candidates narrowed to who keeps the answer. Raises `Refused` (400) when that is none of them."""
    found = tuple(_narrowed(one, pin) for one in resolution.candidates if one.provider.name == pin.provider_name)
    if not found:
        text = (
            f"the response {pin.named!r} is kept by the provider {pin.provider_name!r}, which does not serve this model: "
            f"send the whole conversation in `input` instead of `{FIELD}`"
        )
        raise Refused(Failure(Kind.INVALID_REQUEST, text, param=FIELD))
    return replace(resolution, candidates=found)


def _narrowed(candidate: Candidate, pin: Pin) -> Candidate:
    """The credential that made the answer; all of them when it is gone, for they may be of one account."""
    held = tuple(one for one in candidate.provider.credentials if one.id == pin.credential_id)
    return replace(candidate, provider=replace(candidate.provider, credentials=held)) if held else candidate


# --- keeping --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """An answer that a client may go on from, unread: reading `out` is left to whoever stores it.

    Where a provider keeps it, `out` is empty and the provider is named.
    """

    id: str
    user_id: str
    previous_id: str | None
    conversation_id: str
    at: int
    said: bytes
    out: bytes
    provider_name: str | None = None
    credential_id: str | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.said) + len(self.out)

    def kept(self) -> k.KeptResponse | None:
        """What of it is to be kept; None when it cannot be read."""
        return self._kept

    @cached_property
    def _kept(self) -> k.KeptResponse | None:
        said, told = "", ""
        if self.provider_name is None:
            answer = k.answer_of(self.out)
            if answer is None:
                return None
            try:
                said, told = k.written(k.said_of(self.said), answer)
            except JsonProblem:
                return None
        return k.KeptResponse(
            self.id, self.user_id, self.conversation_id, self.previous_id, self.at, said, told,
            self.provider_name, self.credential_id,
        )  # fmt: skip


def keeping(x: Exchange, keeper: Keeper) -> Callable[[bytes], None] | None:
    """What takes the answer of a request that may be gone on from; None where no client could ask for it."""
    if x.call.dialect is not Dialect.OPENAI_RESPONSES or not keeper.on:
        return None

    def keep(out: bytes) -> None:
        keeper.keep(_answered(x, k.public_id(x.request_id), out))

    return keep


def watch(x: Exchange, step: Step, translator: Translator, keeper: Keeper) -> None:
    """A vendor's own answer begins to pass through: when its end is seen, it is noted before the client can see it."""
    if _passes(x, translator, keeper) and isinstance(translator, Passthrough):
        translator.on_response = lambda answer: _note(x, step, answer, None, keeper)


def note(x: Exchange, step: Step, translator: Translator, body: bytes, keeper: Keeper) -> None:
    """A vendor's own whole answer has passed through. One that was translated has been kept by then."""
    if _passes(x, translator, keeper):
        try:
            answer = fields(body, "id", "output")
        except JsonProblem:
            return
        _note(x, step, answer, body, keeper)


def _passes(x: Exchange, translator: Translator, keeper: Keeper) -> bool:
    wanted = isinstance(translator, Passthrough) and x.call.operation is Operation.GENERATE and keeper.on
    return wanted and _to_be_kept(x.body)


def _note(x: Exchange, step: Step, answer: Mapping[str, Any], body: bytes | None, keeper: Keeper) -> None:
    """Note whose it is, where the vendor keeps it; or keep it for the vendor, under the id that it has given it."""
    named = answer.get("id")
    if not isinstance(named, str) or not named or len(named) > LONGEST_ID or "\0" in named:
        return
    if step.provider.vendor.keeps_responses:
        keeper.keep(_answered(x, named, b"", provider_name=step.provider.name, credential_id=step.credential.id))
    elif isinstance(answer.get("output"), list):
        seen = {"model": x.model_asked}  # what the client was told
        keeper.keep(_answered(x, named, dumps({**answer, **seen}) if body is None else patch(body, seen)))


def _to_be_kept(body: bytes) -> bool:
    if b'"store"' not in body:
        return True
    try:
        return fields(body, "store").get("store") is not False
    except JsonProblem:
        return False


def _answered(x: Exchange, named: str, out: bytes, **more: str) -> Answered:
    assert x.principal is not None
    before = None if more else x.continues
    return Answered(
        id=named,
        user_id=x.principal.user_id,
        previous_id=None if before is None else before.previous_id,
        conversation_id=named if before is None else before.conversation_id,
        at=x.started_us,
        said=b"" if more else x.body if x.continues is None else x.continues.said,
        out=out,
        **more,
    )


def previous_of(x: Exchange) -> str | None:
    """The answer that this request goes on from, as its client named it."""
    return None if x.continues is None else x.continues.previous_id
