"""The queues between the service and its endpoints, on a message broker (AMQP): what is sent, and what comes in.

Belongs here: the connection, in a thread of its own, the queues' names, and where an endpoint is told to connect.
Does not: what the messages mean (endpoints), or the broker itself (servers).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

RESULTS, HEARTBEATS = "results", "heartbeats"
PATIENCE_S = 10.0
_PERSISTENT = 2

Message = Callable[[bytes], None]
T = TypeVar("T")


class Queues:
    """Connect with ``start``, and ``close`` it. ``send_*`` and ``open`` may be called from any thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._thread: threading.Thread | None = None

    def start(self, on_result: Message, on_heartbeat: Message) -> None:
        """Begin to hand over what endpoints send; handlers are called by one thread, and may not call back here."""
        self._connection = pika.BlockingConnection(pika.URLParameters(self._url))
        self._channel = self._connection.channel()
        for name, handler in ((RESULTS, on_result), (HEARTBEATS, on_heartbeat)):
            self._channel.exchange_declare(name, "topic", durable=True)
            self._channel.queue_declare(name, durable=True)
            self._channel.queue_bind(name, name, "#")
            self._channel.basic_consume(name, _acknowledging(handler))
        self._thread = threading.Thread(target=self._channel.start_consuming, name="twin-compute-queues")
        self._thread.start()

    def close(self) -> None:
        if self._connection is None or self._channel is None or self._thread is None:
            return
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join()
        self._connection.close()

    def open(self, endpoint: str) -> dict[str, Any]:
        """Make an endpoint's queues, where they are not there yet; what it must know to use them."""

        def declare(channel: BlockingChannel) -> None:
            for name in (_tasks(endpoint), _commands(endpoint)):
                channel.queue_declare(name, durable=True)

        self._do(declare)
        return {
            "endpoint_id": endpoint,
            "task_queue_info": {"connection_url": self._url, "queue": _tasks(endpoint)},
            "command_queue_info": {"connection_url": self._url, "queue": _commands(endpoint)},
            "result_queue_info": self._way_back(endpoint, RESULTS),
            "heartbeat_queue_info": self._way_back(endpoint, HEARTBEATS),
        }

    def send_command(self, endpoint: str, command: Mapping[str, Any]) -> None:
        # An endpoint does not take a command that is older than three minutes.
        properties = BasicProperties(content_type="application/json", timestamp=int(time.time()))
        self._send(_commands(endpoint), json.dumps(command).encode(), properties)

    def send_task(self, endpoint: str, message: bytes, headers: Mapping[str, Any]) -> None:
        properties = BasicProperties(delivery_mode=_PERSISTENT, headers=dict(headers))
        self._send(_tasks(endpoint), message, properties)

    def _way_back(self, endpoint: str, exchange: str) -> dict[str, Any]:
        how = {"exchange": exchange, "routing_key": f"{endpoint}.{exchange}", "mandatory": True}
        publish = {**how, "properties": {"delivery_mode": _PERSISTENT}}
        return {
            "connection_url": self._url,
            "exchange": exchange,
            "queue": exchange,
            "queue_publish_kwargs": publish,
        }

    def _send(self, queue: str, message: bytes, properties: BasicProperties) -> None:
        self._do(lambda channel: channel.basic_publish("", queue, message, properties))

    def _do(self, what: Callable[[BlockingChannel], T]) -> T:
        """Let the connection's own thread do something with its channel. Raises what that raises, and TimeoutError."""
        assert self._connection is not None and self._channel is not None  # noqa: S101, PT018 - it was started
        channel, done = self._channel, Future[T]()

        def carry_out() -> None:
            try:
                done.set_result(what(channel))
            except Exception as error:
                done.set_exception(error)

        self._connection.add_callback_threadsafe(carry_out)
        return done.result(PATIENCE_S)


def _acknowledging(handler: Message) -> Callable[[BlockingChannel, Basic.Deliver, BasicProperties, bytes], None]:
    def take(channel: BlockingChannel, delivery: Basic.Deliver, _: BasicProperties, message: bytes) -> None:
        handler(message)
        channel.basic_ack(delivery.delivery_tag)

    return take


def _tasks(endpoint: str) -> str:
    return f"{endpoint}.tasks"


def _commands(endpoint: str) -> str:
    return f"{endpoint}.commands"
