// The reads of the service.

export async function read(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const answer = await fetch(`/api/${path}?${new URLSearchParams(given)}`, { signal: AbortSignal.timeout(12000) });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the service answered ${answer.status}`);
  return answer.json();
}

// Follow a store's presence and the rejoins; `handlers` by the event's name, and `state(words)` for the connection.
export function follow(store, handlers) {
  let source, timer, closed = false;
  const begin = () => {
    source = new EventSource(`/api/events?${new URLSearchParams({ store })}`);
    source.onopen = () => handlers.state("");
    source.onerror = () => {
      handlers.state("live events are interrupted");
      if (source.readyState === EventSource.CLOSED && !closed) timer = setTimeout(begin, 5000);
    };
    for (const name of ["peers", "rejoins", "ended"]) {
      source.addEventListener(name, (event) => handlers[name](JSON.parse(event.data)));
    }
  };
  begin();
  return () => {
    closed = true;
    clearTimeout(timer);
    source.close();
  };
}
