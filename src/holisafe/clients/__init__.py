"""One asynchronous client for everything that speaks the OpenAI chat API. Targets use it; judges come to it by them.

options.py    what a spec says: address, key, limits, prices
body.py       a request -> the bytes to send
pictures.py   pictures encoded once and shared
limit.py      how many calls may be in flight, adapting to what the server bears
faults.py     what a failed call means: try again, give up, or a block by the provider's filter
answer.py     a completion -> a response
wire.py       one POST, of whose answer only so many bytes are taken
flow.py       the same for an answer that is heard as it comes
chat.py       the client itself
estimate.py   what requests will cost, before anything is paid
"""
