"""The gateway: a guarded model behind OpenAI's API, for any client that speaks it.

    client ─ app ─ chat ─ pictures ─> Request, Item
                                        │
        panel (guards) <─ the request ──┤ policy: pass, note, calibrate, block
                                        v
        upstream (API or this machine) ─ answer, piece by piece
                                        │
        panel (guards) <─ the answer ───┤ policy; release: what was not judged does not leave
                                        v
                            traffic (run records), counters, client

policy.py      the operator's file: rules, failures, limits
chat.py        a chat body -> the conversation that is asked, and back
pictures.py    data URLs, and addresses where the policy allows them, as pictures
fetch.py       the one place that opens an address from a request
panel.py       every guard's readings of an item
batches.py     things that come one by one, worked on together in a thread
upstream.py    who answers
sight.py       whether pictures reach the model
release.py     a stream held back until it is judged
moderation.py  readings in the form of OpenAI's moderations
moderating.py  a moderation's body read
entry.py       what is known of a request until it is written down
ledger.py      each request written down once, however it ends
traffic.py     requests as run records
keys.py        who may ask
room.py        how many at once
gateway.py     one request from its body to its answer
app.py         the routes
server.py      uvicorn, and clients that are slow on purpose
"""
