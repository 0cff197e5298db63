// The start page: lets people invite, as their clients would.
for (const button of document.querySelectorAll('[data-person]')) {
  button.onclick = async () => {
    const said = button.closest('li').querySelector('[role=status]');
    document.getElementById('error').textContent = '';
    button.disabled = true;
    try {
      const r = await fetch('/people/invite', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ person: button.dataset.person }) });
      const answer = await r.json().catch(() => ({}));
      if (!r.ok) throw new Error(answer.error || `The demo answered ${r.status}.`);
      said.textContent = answer.created ? 'Invited. A guest who is logged in sees it now; the mailbox has the link.' : 'Was invited before, and gets one more mail.';
    } catch (problem) { document.getElementById('error').textContent = problem.message; }
    button.disabled = false;
  };
}
