import { CORPUS, type ConstantLoad } from './load.js';
import type { ChaosRig } from './rig.js';

/** A number that rises when the gateway has met a fault; NaN while nobody answers. */
export type Sign = (rig: ChaosRig, load: ConstantLoad) => Promise<number> | number;

/** Without a fault nothing waits so long; shorter than what a queue lets wait before it drops it. */
const HELD_UP_MS = 500;
/** Longer than a garbage collection of a busy machine. */
const STANDSTILL_MS = 1_000;
const MINUTE_MS = 60_000;
/** A share of the two hundred, and more than the load and the looks have open. */
const STALLED_MANY = 100;

/** Sum of the series of `/metrics` whose name and labels match; NaN while nobody answers. */
async function seriesSum({ address }: ChaosRig, series: RegExp): Promise<number> {
  try {
    const text = await (await fetch(`${address.admin}/metrics`)).text();
    const lines = text.split('\n').filter((line) => !line.startsWith('#') && series.test(line));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  } catch {
    return Number.NaN;
  }
}
const metric =
  (series: RegExp) =>
  (rig: ChaosRig): Promise<number> =>
    seriesSum(rig, series);

/** Values of Redis that were not taken: what arrived is no value at all, or is the sound value of another key. */
export const damagedValues = metric(/^switchyard_cache_errors_total\{.*why="invalid_(short|checksum)"/);
export const mixedUpValues = metric(/^switchyard_cache_errors_total\{.*why="invalid_(key|kind|fingerprint)"/);
/** How often its breaker opened: a read that is late now and then opens none. */
export const redisGivenUp = metric(/^switchyard_cache_breaker_opened_total/);
export const redisUsed = async (rig: ChaosRig): Promise<boolean> =>
  (await seriesSum(rig, /^switchyard_cache_breaker_open /)) === 0;
export const registryDown = async (rig: ChaosRig): Promise<number> =>
  1 - (await seriesSum(rig, /^switchyard_registry_up /));
export const registryUp = async (rig: ChaosRig): Promise<boolean> => (await registryDown(rig)) === 0;
/** 1 while it serves what its disk had at boot. */
export const servedFromDisk = metric(/^switchyard_serving_disk_snapshot /);
export const encoderRestarts = metric(/^switchyard_encoder_restarts_total/);
export const shadowRestarts = metric(/^switchyard_index_process_restarts_total/);
/** Its process answers, and its breaker lets mirrors pass. */
export const shadowUsed = async (rig: ChaosRig): Promise<boolean> =>
  (await seriesSum(rig, /^switchyard_index_process_open /)) > 0 &&
  (await seriesSum(rig, /^switchyard_mirror_breaker_open\{/)) === 0;
/** Mirrors that were given up, since the shadow said nothing. */
export const lateMirrors = metric(/^switchyard_mirrors_total\{.*outcome="deadline"/);
/** Of clients, as the gateway counts them. */
export const requestsInFlight = metric(/^switchyard_overload_in_flight\{.*partition="(live|bulk)"/);
/** Bytes of the target that was asked into memory and is kept in the page cache instead. */
export const heldInPageCache = metric(/^switchyard_index_file_bytes\{.*version="v2".*placement="page_cache"/);
export const uncleanExits = metric(/^switchyard_unclean_exits_total/);
export const refusedOverHttp = metric(/^switchyard_requests_total\{(?=.*protocol="http")(?!.*reason="OK")/);
export const stalledConnections = async (rig: ChaosRig): Promise<number> =>
  Math.floor((await seriesSum(rig, /^switchyard_connections\{/)) / STALLED_MANY);

/** Requests of the load that wait longer than any does without a fault: of what stands still this is all there is to see. */
export const heldUp: Sign = (_rig, load) => load.waitingOver(HELD_UP_MS);
export const standsStill: Sign = (_rig, load) => load.waitingOver(STANDSTILL_MS);

/**
 * 1 once the gateway gave up half of the connections that went silent: those that ask, for the one that listens is asked
 * every 15 s alone. One that had nothing to do for long is closed without a fault.
 */
export const forgottenGivenUp: Sign = ({ postgresProxy: { forgotten, abandoned } }) =>
  forgotten > 0 && abandoned >= forgotten / 2 ? 1 : 0;
export const newConnections: Sign = ({ postgresProxy }) => postgresProxy.accepted;

/** Minutes between our clock and the gateway's, by the ids that it gives queries (UUID version 7). */
export async function clockAhead({ address }: ChaosRig): Promise<number> {
  try {
    const response = await fetch(`${address.http}/v1/search`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ corpus: CORPUS, text: 'what time is it', top_k: 1 }),
    });
    const { query_id } = (await response.json()) as { readonly query_id: string };
    const gatewayMs = Number.parseInt(query_id.replaceAll('-', '').slice(0, 12), 16);
    return Math.round((gatewayMs - Date.now()) / MINUTE_MS);
  } catch {
    return Number.NaN;
  }
}
