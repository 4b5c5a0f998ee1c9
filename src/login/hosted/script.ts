/**
 * The script of the waiting page: it follows the socket and presses the buttons that are there anyway. It is text, because
 * it runs in a browser and must reach it as it is written; the browser tests run it.
 */
export const SCRIPT = `
const login = document.getElementById('login')
const { session, token } = login.dataset
const heading = document.getElementById('heading')
const status = document.getElementById('status')
const leave = (form) => { over = true; document.getElementById(form).submit() }
// The person has pressed a button: what the socket says from now on must not send the page elsewhere as well.
addEventListener('submit', () => { over = true })
const main = document.querySelector('main')
const say = (id, title, text) => {
  main.id = id
  heading.textContent = title
  document.title = title
  status.textContent = text
}
const end = performance.now() + Number(login.dataset.left) * 1000
let warned = false
const timer = setInterval(() => {
  const left = Math.max(0, Math.ceil((end - performance.now()) / 1000))
  document.getElementById('left').textContent = left
  if (left === 0) clearInterval(timer)
  // A tab in the background may miss a second: not only at twenty.
  else if (left <= 20 && !warned) {
    warned = true
    document.getElementById('warning').textContent = left + ' seconds left'
  }
}, 1000)
let over = false
let wait = 500
const connect = () => {
  const url = location.origin.replace(/^http/, 'ws') + '/ws/session/' + session
  const socket = new WebSocket(url, ['idtoken.v1', token])
  socket.onmessage = ({ data }) => {
    if (over) return
    wait = 500
    const event = JSON.parse(data)
    if (event.type === 'otp_ready' && main.id === 'login-offline') {
      say('login-pushing', 'Check your phone', '')
    } else if (event.type === 'claimed') {
      clearInterval(timer)
      document.getElementById('timer').hidden = true
      document.getElementById('no-push').hidden = true
      say('login-claimed', 'Continue on your phone', 'Phone connected')
    } else if (event.type === 'push_failed') {
      say('login-push-failed', "We couldn't reach your phone", 'Open the IDToken app on your phone.')
    } else if (event.type === 'approved') {
      say('login-approved', "You're signed in", '')
      leave('continue')
    } else if (event.type === 'rejected') {
      if (event.reason !== 'wrong_code') say('login-declined', 'Request declined', '')
      leave('continue')
    } else if (event.type === 'expired') {
      leave('continue')
    }
  }
  socket.onclose = ({ code }) => {
    if (over) return
    if (code === 4009) {
      say('login-elsewhere', 'Opened in another tab', 'Go on there, or get a new code here.')
    } else if (code === 1000 || code === 4001 || code === 4004) {
      leave('continue')
    } else {
      say('login-offline', 'Reconnecting\\u2026', '')
      setTimeout(connect, wait)
      wait = Math.min(wait * 2, 8000)
    }
  }
}
connect()
`
