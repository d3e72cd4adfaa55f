/** A plot needs some width of time. */
export const FALLBACK_SPAN_MS = 1_000;

export const STYLE = `
:root { color-scheme: light dark; --old: #6b7280; --new: #0b6bcb; --grid: #8884; --zone: #0b6bcb1a }
@media (prefers-color-scheme: dark) { :root { --old: #9ca3af; --new: #6cb4ff } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } h3 { font-size: 1rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dt { opacity: .7 } dd { margin: 0 }
svg { width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: currentColor }
svg .end { text-anchor: end } svg .middle { text-anchor: middle }
.line { fill: none; stroke-width: 2 } .thin { stroke-width: 1; stroke-dasharray: 4 3 }
path.old { stroke: var(--old) } path.new { stroke: var(--new) } circle.new { fill: var(--new) }
.grid { stroke: var(--grid); fill: none } .zone { fill: var(--zone) }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .85rem }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--grid); vertical-align: top }
`;
