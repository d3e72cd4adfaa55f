/** y = x + x over four numbers, as `OnnxGraphBuilder` writes it: that builder's packages are not carried to a GPU. */
export const PROBE_GRAPH: Uint8Array = Buffer.from(
  'CAgSCnN3aXRjaHlhcmQ6ZAoZCgF4CgF4EgNzdW0aB3N1bS5BZGQiA0FkZAoeCgNzdW0SAXkaCnkuaWRlbnRpdHkiCElkZW50aXR5EgVwcm9iZVoPCgF4EgoKCAgBEgQKAggEYg8KAXkSCgoICAESBAoCCARCBAoAEBE=',
  'base64',
);
