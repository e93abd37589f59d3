// Who is it? In development, whoever one wants to be: the application gives tokens to pages of its own machine.
import icon from '../../../../../src/headwater/web/icon.svg'

const PEOPLE = [
  { id: 'ada', name: 'Ada Moreau', about: 'Sends, runs workflows, makes announcements' },
  { id: 'ben', name: 'Ben Okafor', about: 'Sends, and runs workflows' },
  { id: 'cleo', name: 'Cleo Lindqvist', about: 'Reads everything' },
]

export function SignIn({ onSignIn }: { onSignIn: (user: string) => void }) {
  return (
    <main className="sign-in" id="content">
      <section className="card" aria-labelledby="sign-in-title">
        <header>
          <img src={icon} alt="" width="36" height="36" />
          <h1 id="sign-in-title">Notifications</h1>
        </header>
        <p className="soft">Who are you today? Sign in as somebody else in a second tab, and write to each other.</p>
        <ul>
          {PEOPLE.map(({ id, name, about }) => (
            <li key={id}>
              <button type="button" className="button" onClick={() => onSignIn(id)}>
                <strong>{name}</strong>
                <small>{about}</small>
              </button>
            </li>
          ))}
        </ul>
        <p className="soft small">These three are there in development only, where no secret is configured.</p>
      </section>
    </main>
  )
}
