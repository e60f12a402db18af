fetch("api/v1/snapshot").then(r => r.json()).then(s => { document.getElementById("snapshot").textContent = JSON.stringify(s, null, 1) });
