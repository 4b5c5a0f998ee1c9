/** The operator's hands on the product: its operator API over HTTP. */

type Json = Readonly<Record<string, unknown>>

export type Operator = {
  readonly put: (path: string, body: object) => Promise<Json>
  readonly post: (path: string, body: object) => Promise<Json>
  readonly revoke: (tokenId: string, reason: string) => Promise<void>
  /** Throws unless every check of `/health` is good. */
  readonly expectHealthy: () => Promise<void>
}

/** Acts on `product` with the operator's `token`. Each act throws a plain sentence when it is refused. */
export function operate(product: string, token: string): Operator {
  const act = async (method: 'PUT' | 'POST', path: string, body: object): Promise<Json> => {
    const response = await fetch(`${product}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) {
      throw new Error(`The product refused ${method} ${path}: ${response.status} ${text}`)
    }
    return JSON.parse(text)
  }
  return {
    put: (path, body) => act('PUT', path, body),
    post: (path, body) => act('POST', path, body),
    revoke: async (tokenId, reason) => void (await act('POST', '/revoke', { tokenId, reason })),
    expectHealthy: async () => {
      const response = await fetch(`${product}/health`)
      if (!response.ok) throw new Error(`The product is not healthy: ${await response.text()}`)
      await response.body?.cancel()
    },
  }
}
