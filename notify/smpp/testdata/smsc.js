// An SMS centre made of the npm package smpp, whose wire code is nobody's here. It prints one JSON object a line.
//   node smsc.js SCRIPT     SCRIPT: plain, throttle (every third submission), drop (the connection, at the 30th)
// Each submission that asks for a receipt gets one: odd ones by deliver_sm with text, even ones by parameters.
const smpp = require('smpp');
const script = process.argv[2];
const say = o => console.log(JSON.stringify(o));
let taken = 0, seen = 0, dropped = false;
const server = smpp.createServer(session => {
	session.on('error', e => say({event: 'error', text: String(e)}));
	for (const bind of ['bind_transceiver', 'bind_transmitter', 'bind_receiver'])
		session.on(bind, pdu => {
			const ok = pdu.system_id === 'me' && pdu.password === 'secret';
			say({event: 'bind', command: bind, version: pdu.interface_version, ok});
			session.send(pdu.response({command_status: ok ? smpp.ESME_ROK : smpp.ESME_RINVPASWD}));
		});
	session.on('enquire_link', pdu => { say({event: 'enquire_link'}); session.send(pdu.response()); });
	session.on('unbind', pdu => { say({event: 'unbind'}); session.send(pdu.response()); session.close(); });
	session.on('submit_sm', pdu => {
		seen++;
		if (script === 'throttle' && seen % 3 === 0)
			return session.send(pdu.response({command_status: smpp.ESME_RTHROTTLED}));
		if (script === 'drop' && seen === 30 && !dropped) {
			dropped = true;
			return session.destroy();
		}
		const id = (0xa000 + ++taken).toString(16);
		const m = pdu.short_message, text = pdu.message_payload ? pdu.message_payload.message || pdu.message_payload : m.message;
		say({event: 'submit', id, from: pdu.source_addr, to: pdu.destination_addr, ton: pdu.dest_addr_ton, text: String(text), udh: m.udh ? m.udh.map(b => b.toString('hex')) : null,
			sar: pdu.sar_total_segments || 0, coding: pdu.data_coding, reference: pdu.user_message_reference});
		session.send(pdu.response({message_id: id}));
		if (!(pdu.registered_delivery & 1)) return;
		const back = {source_addr: pdu.destination_addr, source_addr_ton: 1, source_addr_npi: 1, destination_addr: pdu.source_addr, esm_class: 4};
		if (taken % 2)
			session.deliver_sm({...back, short_message: `id:${parseInt(id, 16)} sub:001 dlvrd:001 submit date:2611251200 done date:2611251201 stat:DELIVRD err:000 text:hello`},
				r => say({event: 'ack', status: r.command_status}));
		else
			session.data_sm({...back, receipted_message_id: id, message_state: smpp.MESSAGE_STATE.DELIVERED}, r => say({event: 'ack', status: r.command_status}));
	});
});
server.listen(0, '127.0.0.1', () => say({event: 'listen', port: server.address().port}));
