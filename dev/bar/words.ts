/** The words of the bar: what went wrong, and what it learnt. */

/** A heading and a sentence for the code of a refusal or the end of a login. */
export function wordsOfEnd(code: string): readonly [title: string, text: string] {
  return ENDS[code] ?? ['That did not work', `The identity provider answered “${code}”.`]
}

const ENDS: Readonly<Record<string, readonly [string, string]>> = {
  declined: ['Request declined', 'You declined on your phone. We learnt nothing about you.'],
  wrong_code: ['Your phone could not confirm it', 'The code was wrong three times.'],
  expired: ['Time ran out', 'Nothing is lost. Ask for a new code when your phone is at hand.'],
  elsewhere: ['Opened in another tab', 'This sign-in goes on over there.'],
  gone: ['This sign-in is gone', 'It can’t be continued. Start a new one.'],
  not_found: [
    'We don’t know that number',
    'No phone is enrolled with it. Check the number on your phone.',
  ],
  enrollment_revoked: ['This number was blocked', 'Enroll your phone again to get going.'],
  vds_expired: ['This identity has expired', 'Enroll your phone again to get going.'],
  too_many_requests: ['Too many requests', 'Wait a minute, then try again.'],
  invalid_client: ['This bar isn’t set up correctly', 'The identity provider does not know it.'],
  access_denied: ['You did not sign in', 'You declined or cancelled. We learnt nothing about you.'],
  login_required: ['Somebody else answered', 'The phone belongs to another person than expected.'],
  unknown_login: [
    'This sign-in is not known here',
    'It began elsewhere, or long ago. Start again.',
  ],
  service_vds_required: [
    'We can’t prove who we are',
    'The identity provider has given us no Service VDS. Ask the owner of the bar.',
  ],
  token_refused: ['The token did not pass', 'It was not for us, or not for this sign-in.'],
  unreachable: [
    'Sign-in is not available',
    'The identity provider does not answer. Is it running?',
  ],
}

const CLAIMS: Readonly<Record<string, string>> = {
  given_name: 'First name',
  age_over_18: 'Over 18',
}

/** A claim as a row for people. */
export function wordsOfClaim(name: string, value: unknown): readonly [label: string, text: string] {
  const text = value === true ? 'Yes' : value === false ? 'No' : String(value)
  return [CLAIMS[name] ?? name, text]
}

/** The greeting at the door. */
export function greeting(claims: Readonly<Record<string, unknown>>): readonly [string, string] {
  const name = typeof claims.given_name === 'string' ? `, ${claims.given_name}` : ''
  return claims.age_over_18 === true
    ? [`Welcome${name}`, 'Your first drink is on the house.']
    : [`Hello${name}`, 'You are not 18 yet: the lemonade is on the house.']
}
