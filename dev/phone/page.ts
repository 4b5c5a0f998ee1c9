/** The virtual phone's page: who it belongs to, and what it was opened with. */
import { nameOf } from './cards.ts'
import { type Device, enrollDevice, listPersons, loadDevice, type Person } from './device.ts'
import { announce, h, icon, pause, show } from './dom.ts'
import { Home } from './home.ts'
import { textOfFragment } from './links.ts'
import { sentenceOfFault } from './words.ts'

const STAGES = [
  'Making keys that never leave this phone',
  'Reading the passport (simulated)',
  'Registering with the identity provider',
]
/** Each stage stays long enough to be read. */
const STAGE_MILLISECONDS = 350

async function welcome(fault?: string): Promise<void> {
  announce('')
  const persons = await listPersons()
  const form = h(
    'form',
    {
      onsubmit: (event: Event) => {
        event.preventDefault()
        const chosen = new FormData(form).get('person')
        const person = persons.find(({ id }) => id === chosen)
        if (person) void enroll(person)
      },
    },
    h(
      'fieldset',
      { class: 'persons' },
      h('legend', {}, 'Whose passport do you hold against it?'),
      ...persons.map((person, index) =>
        h(
          'label',
          { class: 'person' },
          h('input', { type: 'radio', name: 'person', value: person.id, checked: index === 0 }),
          h('span', {}, nameOf(person), h('small', {}, person.note)),
        ),
      ),
    ),
    h(
      'div',
      { class: 'actions' },
      h('button', { class: 'primary', type: 'submit' }, 'Make my IDToken'),
    ),
  )
  show(
    'welcome',
    h('h1', {}, 'Make your IDToken'),
    h(
      'p',
      { class: 'quiet' },
      'A phone for the development world. The people are made up, the signatures are real.',
    ),
    fault !== undefined && h('p', { class: 'fault', role: 'alert' }, fault),
    form,
  )
}

async function enroll(person: Person): Promise<void> {
  const items = STAGES.map((text) => h('li', {}, icon('tick'), text))
  show('enrolling', h('h1', {}, 'Making your IDToken'), h('ol', { class: 'stages' }, ...items))
  try {
    const done = await enrollDevice(person, async (stage) => {
      items.forEach((item, index) => {
        item.className = index < stage ? 'done' : index === stage ? 'now' : ''
      })
      await pause(STAGE_MILLISECONDS)
    })
    if ('device' in done) return goHome(done.device)
    await welcome(sentenceOfFault(done.fault))
  } catch {
    await welcome('The development world does not answer. Is it still running?')
  }
}

/** What the phone was opened with, and nobody has followed yet. */
let opened: string | undefined
let home: Home | undefined

/** Takes what stands behind the `#` of the address, and follows it as soon as there is an identity to follow it with. */
function takeFragment(): void {
  if (location.hash !== '') {
    opened = textOfFragment(location.hash)
    history.replaceState(null, '', location.pathname)
  }
  if (opened === undefined || home === undefined) return
  home.follow(opened)
  opened = undefined
}

function goHome(device: Device): void {
  home = new Home(device, () => {
    home = undefined
    return welcome()
  })
  home.open()
  takeFragment()
}

async function main(): Promise<void> {
  takeFragment()
  addEventListener('hashchange', takeFragment)
  const device = await loadDevice().catch(() => undefined)
  if (device) goHome(device)
  else await welcome()
}

main().catch(() => {
  show(
    'broken',
    h('h1', {}, 'The development world does not answer'),
    h('p', {}, 'Start it with npm start, then reload.'),
  )
})
