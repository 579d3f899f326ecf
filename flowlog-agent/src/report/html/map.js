'use strict';
// The map: who stands where, and how lines are drawn. Places hang on the names alone, so a picture stays as it is.
const FlowMap = (() => {
  const CELL = { width: 158, height: 42 }, PAD = { side: 14, top: 30, bottom: 12 }, GAP = 30, ZONE_GAP = 96;

  // Boxes: a namespace each, and one each for what is no namespace's.
  function boxOf(actor) {
    const place = actor.place;
    if (place.namespace) return 'ns:' + place.namespace;
    if (place.kind === 'external') return 'outside';
    if (actor.role || place.kind === 'node') return 'interfaces';
    return 'unknown';
  }
  const BOX_NAMES = { outside: 'Outside the cluster', interfaces: "Cluster's own interfaces", unknown: 'Not known' };

  function zoneOf(box, members) {
    if (box === 'outside' || box === 'unknown') return 2;
    if (box === 'interfaces') return 2;
    const strange = members.filter((one) => one.origin === 'third_party' || one.origin === 'unknown').length;
    return strange * 2 > members.length ? 0 : 1;
  }

  const byName = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

  // Positions of all nodes, in a picture about so much wider than it is high. Zones from left to right: third parties, one's
  // own, what is outside.
  function layout(nodes, edges, aspect) {
    const boxes = new Map();
    for (const node of nodes) {
      if (!boxes.has(node.box)) boxes.set(node.box, []);
      boxes.get(node.box).push(node);
    }
    const all = [...boxes].sort((a, b) => byName(a[0], b[0])).map(([id, members]) => {
      members.sort((a, b) => Number(b.sensitive) - Number(a.sensitive) || byName(a.label, b.label) || a.index - b.index);
      const columns = members.length <= 8 ? 1 : Math.max(2, Math.round(Math.sqrt(members.length * 0.22)));
      const rows = Math.ceil(members.length / columns);
      return { id, members, columns, rows, zone: zoneOf(id, members), y: 0,
        width: columns * CELL.width + PAD.side * 2, height: rows * CELL.height + PAD.top + PAD.bottom };
    });
    const home = new Map();
    for (const box of all) for (const node of box.members) home.set(node.index, box);
    const tallest = Math.max(...all.map((box) => box.height));
    const area = all.reduce((sum, box) => sum + (box.width + GAP) * (box.height + GAP), 0);
    let tall = tallest;
    const pack = () => {
      let left = 0;
      for (let zone = 0; zone < 3; zone += 1) {
        const boxes = all.filter((box) => box.zone === zone);
        if (!boxes.length) continue;
        const columns = [];
        let column = null;
        for (const box of boxes) {
          if (!column || column.height + box.height > tall) { column = { boxes: [], height: 0, width: 0 }; columns.push(column); }
          column.boxes.push(box); column.height += box.height + GAP; column.width = Math.max(column.width, box.width);
        }
        for (const { boxes, height, width } of columns) {
          let top = (tall - (height - GAP)) / 2;
          for (const box of boxes) { box.left = left + (width - box.width) / 2; box.top = top; box.y = top + box.height / 2; top += box.height + GAP; }
          left += width + GAP;
        }
        left += ZONE_GAP - GAP;
      }
      return left - ZONE_GAP;
    };
    // The height at which the whole is shown largest.
    let best = Infinity;
    for (let step = 0; step < 24; step += 1) {
      const height = Math.max(tallest, Math.sqrt(area / aspect) * (0.7 + step * 0.06));
      tall = height;
      const size = Math.max(pack() / aspect, height);
      if (size < best - 1) { best = size; all.tall = height; }
    }
    tall = all.tall;
    pack();
    // Boxes stand beside those that they talk to, a few rounds, so that lines are short.
    for (let round = 0; round < 4; round += 1) {
      for (const box of all) { box.sum = 0; box.weight = 0; }
      for (const edge of edges) {
        const a = home.get(edge.source), b = home.get(edge.target);
        if (!a || !b || a === b) continue;
        a.sum += b.y; a.weight += 1; b.sum += a.y; b.weight += 1;
      }
      for (const box of all) box.want = box.weight ? box.sum / box.weight : box.y;
      all.sort((a, b) => a.zone - b.zone || a.want - b.want || byName(a.id, b.id));
      pack();
    }
    const places = new Map();
    for (const box of all) {
      box.members.forEach((node, at) => {
        places.set(node.index, {
          x: box.left + PAD.side + (at % box.columns) * CELL.width + CELL.width / 2,
          y: box.top + PAD.top + Math.floor(at / box.columns) * CELL.height + CELL.height / 2,
        });
      });
    }
    return places;
  }

  function style(ink) {
    const edge = (tone, more) => ({ selector: 'edge.' + tone, style: { 'line-color': ink[tone], 'target-arrow-color': ink[tone], ...more } });
    return [
      { selector: 'node', style: { shape: 'round-rectangle', width: 138, height: 28, 'background-color': ink.surface, 'border-width': 1, 'border-color': ink.line,
        label: 'data(label)', color: ink.ink, 'font-size': 11.5, 'font-family': 'system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif',
        'text-valign': 'center', 'text-halign': 'center', 'text-wrap': 'ellipsis', 'text-max-width': 124, 'min-zoomed-font-size': 4 } },
      { selector: 'node.box', style: { shape: 'round-rectangle', 'background-color': ink.ground, 'background-opacity': 1, 'border-width': 1, 'border-color': ink.line, label: 'data(label)',
        'text-valign': 'top', 'text-halign': 'center', 'font-size': 15, 'font-weight': 600, color: ink.soft, 'text-margin-y': 23, padding: '24px', 'text-wrap': 'ellipsis', 'text-max-width': 170, 'min-zoomed-font-size': 4, events: 'no' } },
      { selector: 'node[tone]', style: { 'border-color': 'data(tone)', 'border-width': 2, 'background-color': 'data(tint)' } },
      { selector: 'node.unknown', style: { 'border-style': 'dashed', 'border-color': ink.soft, 'border-width': 1.5 } },
      { selector: 'node.sensitive', style: { 'border-style': 'double', 'border-width': 4, 'border-color': ink.ink, 'font-weight': 600 } },
      { selector: 'node.outside', style: { shape: 'round-tag' } },
      { selector: 'edge', style: { 'curve-style': 'straight', width: 1.2, 'target-arrow-shape': 'triangle', 'arrow-scale': 0.8, opacity: 0.75, 'z-index': 1 } },
      { selector: 'edge.inner', style: { 'curve-style': 'unbundled-bezier', 'control-point-distances': 'data(bend)', 'control-point-weights': 0.5, 'edge-distances': 'endpoints', 'source-endpoint': '90deg', 'target-endpoint': '90deg' } },
      edge('allowed', { width: 1.1, opacity: 0.5 }),
      edge('unrestricted', { 'line-style': 'dotted', width: 1.5 }),
      edge('possible', { 'line-style': 'dotted', width: 1, opacity: 0.6, 'target-arrow-shape': 'vee' }),
      edge('other', { width: 1, opacity: 0.5 }),
      edge('denied', { 'line-style': 'dashed', width: 2, 'target-arrow-shape': 'tee', opacity: 0.95, 'z-index': 3 }),
      edge('blocked', { 'line-style': 'dashed', 'line-dash-pattern': [2, 4], width: 2, 'target-arrow-shape': 'tee', opacity: 0.95, 'z-index': 2 }),
      edge('not_enforced', { width: 4, opacity: 1, 'arrow-scale': 1.1, 'z-index': 4 }),
      { selector: '.off', style: { display: 'none' } },
      { selector: 'node.faint', style: { opacity: 0.28 } }, { selector: 'edge.faint', style: { opacity: 0.05 } },
      { selector: 'node.near', style: { opacity: 1 } }, { selector: 'edge.near', style: { opacity: 1, 'z-index': 5 } },
      { selector: 'node.chosen', style: { 'border-width': 4, 'border-color': ink.focus, 'border-style': 'solid' } },
    ];
  }

  // Draw into a box; `tell` hears what is chosen.
  function draw(container, nodes, edges, ink, tell) {
    // Steps, so that a few pixels more of a window do not make another picture.
    const aspect = Math.min(2, Math.max(0.75, Math.round((container.clientWidth / Math.max(1, container.clientHeight)) * 4) / 4));
    const places = layout(nodes, edges, aspect);
    const boxes = new Map(nodes.map((node) => [node.box, BOX_NAMES[node.box] || node.box.slice(3)]));
    const elements = [...boxes].map(([id, label]) => ({ data: { id, label: cut(label, 40) }, classes: 'box', selectable: false, grabbable: false }));
    for (const node of nodes) {
      const data = { id: 'n' + node.index, parent: node.box, label: (node.sensitive ? '★ ' : '') + cut(node.label, 44) };
      if (node.tone) { data.tone = node.tone; data.tint = node.tint; }
      elements.push({ data, position: { ...places.get(node.index) }, grabbable: false,
        classes: [node.sensitive && 'sensitive', node.origin === 'unknown' && node.kind === 'workload' && 'unknown', node.kind === 'external' && 'outside'].filter(Boolean).join(' ') });
    }
    for (const edge of edges) {
      const from = places.get(edge.source), to = places.get(edge.target), data = { id: edge.id, source: 'n' + edge.source, target: 'n' + edge.target };
      // Between two of one column a straight line would cross those that stand between them.
      const inner = Math.abs(from.x - to.x) < 1 && edge.source !== edge.target;
      if (inner) data.bend = (from.y < to.y ? -1 : 1) * Math.min(64, 10 + Math.abs(from.y - to.y) * 0.14);
      elements.push({ data, classes: edge.tone + (inner ? ' inner' : '') });
    }
    const many = edges.length > 250;
    const cy = cytoscape({
      container, elements, style: style(ink), layout: { name: 'preset', fit: true, padding: 24 },
      minZoom: 0.06, maxZoom: 3, boxSelectionEnabled: false, autounselectify: true,
      textureOnViewport: many, hideEdgesOnViewport: false, motionBlur: false, pixelRatio: many ? 1 : 'auto',
    });
    cy.on('tap', 'node', (event) => { if (!event.target.hasClass('box')) tell({ node: Number(event.target.id().slice(1)) }); });
    cy.on('tap', 'edge', (event) => tell({ edge: event.target.id() }));
    cy.on('tap', (event) => { if (event.target === cy) tell({}); });
    return {
      cy,
      restyle: (ink) => cy.style(style(ink)),
      show(isShown) { cy.batch(() => cy.edges().forEach((edge) => { edge.toggleClass('off', !isShown(edge.id())); })); },
      choose(choice) {
        cy.batch(() => {
          cy.elements().removeClass('faint near chosen');
          const chosen = choice.node !== undefined ? cy.getElementById('n' + choice.node) : choice.edge ? cy.getElementById(choice.edge) : cy.collection();
          if (chosen.empty()) return;
          const lines = chosen.isEdge() ? chosen : chosen.connectedEdges(':visible');
          const near = chosen.union(lines).union(lines.connectedNodes());
          cy.elements().not('.box').difference(near).addClass('faint');
          near.addClass('near');
          if (chosen.isNode()) chosen.addClass('chosen');
        });
      },
      center(index) { const node = cy.getElementById('n' + index); if (!node.empty()) { if (cy.zoom() < 0.7) cy.zoom(0.9); cy.center(node); } },
      zoom(by) { cy.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } }); },
      pan(x, y) { cy.panBy({ x, y }); },
      fit() { cy.fit(cy.elements(), 24); },
      end() { cy.destroy(); },
    };
  }

  const cut = (text, most) => { const letters = [...text.slice(0, most * 2)]; return letters.length > most ? letters.slice(0, most - 1).join('') + '…' : letters.join(''); };
  return { boxOf, draw, layout };
})();
