/** Loopback ports: is one free, and which are. */
import { createServer } from 'node:net'

/** Whether nobody listens on `port` of this machine, by either address that `localhost` may mean. */
export async function isFree(port: number): Promise<boolean> {
  return (await canListen(port, '127.0.0.1')) && (await canListen(port, '::1'))
}

/** `count` different free ports. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((found, failed) => {
          server.once('error', failed)
          server.listen(0, '127.0.0.1', () => {
            const address = server.address()
            found(typeof address === 'object' && address !== null ? address.port : 0)
          })
        }),
    ),
  )
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))))
  return ports
}

function canListen(port: number, host: string): Promise<boolean> {
  return new Promise((tell) => {
    const server = createServer()
    server.once('error', (fault: NodeJS.ErrnoException) => {
      // A machine without IPv6 has nobody listening there either.
      tell(fault.code !== 'EADDRINUSE' && fault.code !== 'EACCES')
    })
    server.listen({ port, host, exclusive: true }, () => server.close(() => tell(true)))
  })
}
