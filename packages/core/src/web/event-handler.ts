/** What an `onsomething` attribute holds. */
export type EventHandlerValue<Target, Received> = ((this: Target, event: Received) => unknown) | null

/**
 * An event handler IDL attribute: a listener whose callback can be exchanged in its place.
 * @see https://html.spec.whatwg.org/multipage/webappapis.html#event-handler-idl-attributes
 */
export class EventHandler {
  value: object | null = null
  readonly #type: string
  #listening = false

  constructor(type: string) {
    this.#type = type
  }

  /** [LegacyTreatNonObjectAsNull]: any object is kept, only a function is called. */
  set(target: EventTarget, value: unknown): void {
    const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function'
    this.value = isObject ? (value as object) : null
    if (isObject === this.#listening) return
    this.#listening = isObject
    if (isObject) target.addEventListener(this.#type, this.#listener)
    else target.removeEventListener(this.#type, this.#listener)
  }

  readonly #listener = (event: Event): void => {
    if (typeof this.value !== 'function') return
    if (this.value.call(event.currentTarget, event) === false) event.preventDefault()
  }
}
