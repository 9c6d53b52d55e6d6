"""What becomes of the messages of claims: of many in one request, or of one."""

from collections.abc import Callable, Sequence
from typing import Any

from wsme.types import Unset

from marconi_api import limits, model, policy
from marconi_api.controllers.access.queues import queue_named
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v1_1.types import ClaimRenewal, NewClaim
from marconi_api.controllers.openstack.v2.types import (
    Kicked,
    NewKick,
    NewParking,
    NewRelease,
    NewVerdict,
    NewVerdicts,
    NewVerdictsAcrossQueues,
    VerdictOutcomes,
    VerdictOutcomesAcrossQueues,
)
from marconi_api.errors import (
    ClaimCannotChange,
    ClaimedCannotChange,
    ClaimNotFound,
    InvalidQueueName,
    InvalidRequest,
    MarconiError,
    MessageIsNotParked,
    MessageNotFound,
)
from marconi_api.model import Outcome, QueueKey, Verdict
from marconi_api.wire.actions import EMPTY, Action, Content, expose
from marconi_api.wire.documents import text_of
from marconi_api.wire.failures import MissingParameter
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.values import text_parameter


def _verdict(sent: NewVerdict) -> Verdict:
    terms = {name: getattr(sent, name) for name in ('delay', 'ttl', 'grace', 'reason')}
    terms['reply'] = None if sent.reply is Unset else text_of(sent.reply)
    verdict = Verdict.of(sent.id, sent.verdict, **terms)
    limits.in_force.check_claim(sent.ttl, sent.grace)
    return verdict


def _permit(request: Request, verdicts: Sequence[Verdict]) -> None:
    """Refuse a client whose roles do not allow all of the verdicts.

    :raises NotAuthorized: if one is not allowed
    """
    actions = {f'messages:{verdict.verdict}' for verdict in verdicts}
    if any(verdict.reply is not None for verdict in verdicts):
        actions.add('replies:create')
    policy.permit(request.identity.roles, actions)


def _document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {'verdicts': [_entry(outcome) for outcome in outcomes]}


def _entry(outcome: Outcome) -> dict[str, str]:
    return {
        'id': outcome.message,
        'verdict': outcome.verdict,
        'result': outcome.result,
        'state': outcome.state,
    }


class VerdictsController(Controller):
    """``/v2/queues/{queue}/claims/{claim}/verdicts``."""

    @expose(body=NewVerdicts, replies={200: Content(VerdictOutcomes)})
    def post(self, request: Request, queue: QueueKey, claim: str, body: NewVerdicts) -> Reply:
        """Carry out each verdict that can be, and say of each what became of it."""
        limits.in_force.verdicts.check('The number of verdicts', len(body.verdicts))
        if len({sent.id for sent in body.verdicts}) < len(body.verdicts):
            raise InvalidRequest('Each message may have one verdict only: name it once.')
        verdicts = [_verdict(sent) for sent in body.verdicts]
        _permit(request, verdicts)
        return json_reply(_document(model.store.verdicts.give(queue, claim, verdicts)))


class VerdictsAcrossQueuesController(Controller):
    """``/v2/verdicts``."""

    @expose(
        body=NewVerdictsAcrossQueues,
        replies={200: Content(VerdictOutcomesAcrossQueues)},
        raises=(InvalidQueueName,),
    )
    def post(self, request: Request, body: NewVerdictsAcrossQueues) -> Reply:
        """Do the same with messages of several queues and claims, queue by queue."""
        sent = body.verdicts
        limits.in_force.verdicts.check('The number of verdicts', len(sent))
        names = {one.queue for one in sent}
        limits.in_force.queues_in_request.check('The number of queues', len(names))
        queues = {name: queue_named(request, name) for name in names}
        if len({(one.queue, one.id) for one in sent}) < len(sent):
            raise InvalidRequest('Each message may have one verdict only: name it once.')
        given = [(queues[one.queue], one.claim_id, _verdict(one)) for one in sent]
        _permit(request, [verdict for _, _, verdict in given])
        outcomes = model.store.verdicts.give_across(given)
        return json_reply(
            {
                'verdicts': [
                    {'queue': one.queue, 'claim_id': one.claim_id, **_entry(outcome)}
                    for one, outcome in zip(sent, outcomes, strict=True)
                ]
            }
        )


class HeartbeatController(Controller):
    """``/v2/queues/{queue}/claims/{claim}/heartbeat``."""

    @expose(
        body=ClaimRenewal,
        body_is_optional=True,
        replies={200: Content(VerdictOutcomes)},
        raises=(ClaimNotFound,),
    )
    def post(
        self, request: Request, queue: QueueKey, claim: str, body: ClaimRenewal | None = None
    ) -> Reply:
        """Renew all that the claim still holds, and say of each message whether it does."""
        terms = body or ClaimRenewal()
        limits.in_force.check_renewal(terms.ttl, terms.grace)
        outcomes = model.store.verdicts.heartbeat(queue, claim, terms.ttl, terms.grace)
        return json_reply(_document(outcomes))


def carry_out(queue: QueueKey, claim: str | None, verdict: Verdict) -> Reply:
    """Carry out one verdict; the errors are those of deleting a message (docs/protocol-v1.md, 6.6)."""
    [outcome] = model.store.verdicts.give(queue, claim, [verdict])
    # A client that parks a parked message may have lost the first reply, so that is not an error.
    if outcome.result == 'done' or (verdict.verdict, outcome.state) == ('park', 'parked'):
        return empty_reply()
    if outcome.result == 'gone':
        raise MessageNotFound(verdict.message, queue.name, queue.project)
    if outcome.result == 'not_parked':
        raise MessageIsNotParked(verdict.message)
    if outcome.state == 'claimed':
        raise ClaimedCannotChange(verdict.message)
    raise ClaimCannotChange(verdict.message, claim or '')


def required(claim_id: str | None) -> str:
    """The parameter ``claim_id``, for verdicts that need a claim.

    :raises MissingParameter: if the client did not send it
    """
    if not claim_id:
        raise MissingParameter('Name the claim that holds the message, ?claim_id=ID')
    return claim_id


def _on_one_message(body: Any, *failures: type[MarconiError]) -> Callable[[Action], Action]:
    """Make a method an action: a verdict on one message of a claim, with terms or without."""
    return expose(
        body=body,
        body_is_optional=True,
        claim_id=text_parameter,
        replies={204: EMPTY},
        raises=(*failures, MessageNotFound, ClaimCannotChange, ClaimedCannotChange),
    )


class MessageVerdictController(Controller):
    """``/v2/queues/{queue}/messages/{message}/VERDICT``.

    :param verdict: the name of the method that a POST calls
    """

    def __init__(self, prefix: str, verdict: str) -> None:
        super().__init__(prefix)
        self.post = getattr(self, verdict)

    @_on_one_message(NewClaim, MissingParameter)
    def touch(
        self,
        request: Request,
        queue: QueueKey,
        message: str,
        body: NewClaim | None = None,
        claim_id: str | None = None,
    ) -> Reply:
        """Hold this one message of a claim for another ``ttl``."""
        terms = body or NewClaim()
        limits.in_force.check_claim(terms.ttl, terms.grace)
        verdict = Verdict.touch(message, terms.ttl, terms.grace)
        return carry_out(queue, required(claim_id), verdict)

    @_on_one_message(NewRelease, MissingParameter)
    def release(
        self,
        request: Request,
        queue: QueueKey,
        message: str,
        body: NewRelease | None = None,
        claim_id: str | None = None,
    ) -> Reply:
        """Give this one message of a claim back, at once or after a ``delay``."""
        verdict = Verdict.release(message, body.delay if body else None)
        return carry_out(queue, required(claim_id), verdict)

    @_on_one_message(NewParking)
    def park(
        self,
        request: Request,
        queue: QueueKey,
        message: str,
        body: NewParking | None = None,
        claim_id: str | None = None,
    ) -> Reply:
        """Take a message out of circulation; a claimed one by its claim."""
        return carry_out(queue, claim_id, Verdict.park(message, body.reason if body else None))


class KickController(Controller):
    """``/v2/queues/{queue}/messages/{message}/kick``."""

    @expose(replies={204: EMPTY}, raises=(MessageNotFound, MessageIsNotParked))
    def post(self, request: Request, queue: QueueKey, message: str) -> Reply:
        """Put a parked message back into the queue."""
        return carry_out(queue, None, Verdict(message, 'kick'))


class KickAllController(Controller):
    """``/v2/queues/{queue}/kick``."""

    @expose(body=NewKick, body_is_optional=True, replies={200: Content(Kicked)})
    def post(self, request: Request, queue: QueueKey, body: NewKick | None = None) -> Reply:
        """Put parked messages back into the queue, the oldest first; or say there are more."""
        limit = body.limit if body else None
        if limit is not None:
            limits.in_force.kick_size.check('limit', limit)
        kicked, has_more = model.store.verdicts.kick(queue, limit)
        return json_reply({'kicked': kicked, 'more': True} if has_more else {'kicked': kicked})
