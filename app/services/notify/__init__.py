"""Tells people of alerts: by webhooks, by mail, through apprise.

What an alert must be told is written in the transaction that opens or resolves it (`outbox.announce`): a row for each
channel that wants it. Afterwards a thread of the service (`notifier`) sends what waits:

1. `outbox.take` holds the channel by a conditional update of one column, `next_at`, and counts the try: no other thread
   or process sends for that channel until then, so its messages stay in order and none is sent twice at a time.
2. `courier.send` resolves the host, checks every address (`addresses`), and connects to one that was checked.
3. `outbox.record` writes down what came of it, and when the channel's next turn is.

A process that dies between 1 and 3 leaves a row that waits; its channel is free again when the hold runs out, and the
message is sent again under the same id: at least once.
"""
