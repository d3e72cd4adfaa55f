import { type Route, routeIdentity } from '../../registry/route.js';

/** The routes as this process last read them, and whoever wants to hear of changes. */
export class RouteFeed {
  readonly #routes = new Map<string, Route>();
  readonly #listeners = new Map<string, Set<(route: Route) => void>>();

  /** Null for a corpus without a route. */
  current(corpus: string): Route | null {
    return this.#routes.get(corpus) ?? null;
  }

  /** Returns the function that ends it. */
  subscribe(corpus: string, listener: (route: Route) => void): () => void {
    const listeners = this.#listeners.get(corpus) ?? new Set();
    this.#listeners.set(corpus, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(corpus) === listeners) this.#listeners.delete(corpus);
    };
  }

  publish(routes: readonly Route[]): void {
    for (const route of routes) {
      const known = this.#routes.get(route.corpus);
      if (known !== undefined && routeIdentity(known) === routeIdentity(route)) continue;
      this.#routes.set(route.corpus, route);
      for (const listener of this.#listeners.get(route.corpus) ?? []) listener(route);
    }
  }
}
