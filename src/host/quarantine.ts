/**
 * Modules whose code ends its host again and again: they get no calls for a while, then one more try, and a longer
 * pause if that fails too. Other modules do not wait for them, and hopeless starts do not take a core.
 */
import { hostSettings } from "../module/shape/settings";
import { logWith } from "../observe/log/fields";
import type { Log } from "../module/contract";
import { asHost } from "../system/leave-graph";
import { UnavailableError } from "./errors";
import type { LoadSpec } from "../module/version";

/** Default of `modules.NAME.maxCrashes`. */
const MAX_CRASHES = 5;
/** Default of `modules.NAME.crashWindowMs`. */
const CRASH_WINDOW_MS = 60_000;
const FIRST_WAIT_MS = 5000;
const LONGEST_WAIT_MS = 300_000;

/** For status. */
export interface QuarantineFacts {
  readonly reason: string;
  /** The next try. In milliseconds since 1970. null: a try is running, or another version is being chosen. */
  readonly nextTryAtMs: number | null;
}

export interface QuarantineSettings {
  /**
   * The module has crashed too often: another version may replace it before it is shut out.
   *
   * @returns whether that was done. Must not reject. Default: no other version.
   */
  readonly onCrashLoop?: (spec: LoadSpec, reason: string) => Promise<boolean>;
  /** Called each time a generation has ended its host. Default: not called. */
  readonly onCrash?: (spec: LoadSpec, reason: string) => void;
  /** The first wait; each further one is twice as long, up to 5 minutes. In milliseconds. Default 5000. */
  readonly firstQuarantineMs?: number;
  readonly log: Log;
}

interface QuarantineOwner {
  /** Calls of this generation are refused from now on. */
  shutOut(id: number): void;
  /**
   * The time is over. @returns true: it is free again; false: it is being tried, and `lift` or `noteCrash` reports the
   * result
   */
  tryAgain(id: number): boolean;
}

interface Patient {
  readonly spec: LoadSpec;
  /** The times of crashes that count, by performance.now(). */
  crashes: number[];
  /** The number of quarantines since it last lived for long. */
  stays: number;
  /** Until this time by performance.now(), one crash is enough. */
  onProbationUntil: number;
  shut: { reason: string; nextTryAtMs: number | null; timer: Timer | null } | null;
}

export class Quarantine {
  readonly #settings: QuarantineSettings;
  readonly #owner: QuarantineOwner;
  readonly #patients = new Map<number, Patient>();
  #shutCount = 0;

  constructor(settings: QuarantineSettings, owner: QuarantineOwner) {
    this.#settings = settings;
    this.#owner = owner;
  }

  /** Whether nothing is shut out. Read at every call. */
  get isEmpty(): boolean {
    return this.#shutCount === 0;
  }

  /** @returns why a call of this generation is refused; null: it is not */
  refusal(id: number): UnavailableError | null {
    const patient = this.#patients.get(id);
    if (patient === undefined || patient.shut === null) return null;
    const { nextTryAtMs, reason } = patient.shut;
    const waitMs = nextTryAtMs === null ? 0 : nextTryAtMs - Date.now();
    return new UnavailableError(
      `Module "${patient.spec.name}" is in quarantine: ${reason}.`,
      Math.max(1, Math.ceil(waitMs / 1000)),
    );
  }

  facts(id: number): QuarantineFacts | null {
    const shut = this.#patients.get(id)?.shut ?? null;
    return shut === null ? null : { reason: shut.reason, nextTryAtMs: shut.nextTryAtMs };
  }

  /**
   * Counts a crash: the generation ended its host, or its host could not be started again.
   *
   * @param isItsFault  false: none of its code had run there, so another version would fail too
   * @returns whether it is now shut out
   */
  noteCrash(spec: LoadSpec, reason: string, isItsFault: boolean): boolean {
    if (isItsFault) this.#settings.onCrash?.(spec, reason);
    const now = performance.now();
    const { maxCrashes = MAX_CRASHES, crashWindowMs = CRASH_WINDOW_MS } = hostSettings(spec.config);
    if (maxCrashes === 0) return false;
    const patient = this.#patientOf(spec);
    patient.crashes = [...patient.crashes.filter((at) => now - at < crashWindowMs), now];
    const isShut = patient.shut !== null;
    if (!isShut && now >= patient.onProbationUntil) {
      patient.stays = 0;
      if (patient.crashes.length < maxCrashes) return false;
    }
    const often =
      patient.crashes.length === 1
        ? "once more"
        : `${patient.crashes.length} times within ${Math.ceil(crashWindowMs / 1000)} s`;
    void this.#shut(
      patient,
      `it crashed ${often}, the last time because ${reason}`,
      isItsFault && !isShut && patient.stays === 0,
    );
    return true;
  }

  /** The try succeeded: it gets calls again. */
  lift(id: number): void {
    const patient = this.#patients.get(id);
    if (patient === undefined || patient.shut === null) return;
    const { crashWindowMs = CRASH_WINDOW_MS } = hostSettings(patient.spec.config);
    patient.shut = null;
    this.#shutCount--;
    patient.crashes = [];
    patient.onProbationUntil = performance.now() + crashWindowMs;
    this.#logOf(patient).info("is out of quarantine");
  }

  /** The generation is gone. */
  forget(id: number): void {
    const patient = this.#patients.get(id);
    this.#patients.delete(id);
    if (patient === undefined || patient.shut === null) return;
    this.#shutCount--;
    if (patient.shut.timer !== null) clearTimeout(patient.shut.timer);
  }

  close(): void {
    for (const id of this.#patients.keys()) this.forget(id);
  }

  #patientOf(spec: LoadSpec): Patient {
    const known = this.#patients.get(spec.id);
    if (known !== undefined) return known;
    const patient: Patient = { spec, crashes: [], stays: 0, onProbationUntil: 0, shut: null };
    this.#patients.set(spec.id, patient);
    return patient;
  }

  async #shut(patient: Patient, reason: string, mayBeReplaced: boolean): Promise<void> {
    const { id } = patient.spec;
    if (patient.shut === null) this.#shutCount++;
    else if (patient.shut.timer !== null) clearTimeout(patient.shut.timer);
    const shut = (patient.shut = { reason, nextTryAtMs: null as number | null, timer: null as Timer | null });
    this.#owner.shutOut(id);
    if (mayBeReplaced && (await this.#settings.onCrashLoop?.(patient.spec, reason)) === true) {
      this.#logOf(patient).warn(`${reason}: another version takes its place`);
    }
    // It is gone, mostly because another version has replaced it.
    if (patient.shut !== shut || this.#patients.get(id) !== patient) return;
    const { firstQuarantineMs = FIRST_WAIT_MS } = this.#settings;
    const waitMs = Math.min(LONGEST_WAIT_MS, firstQuarantineMs * 2 ** patient.stays++);
    shut.nextTryAtMs = Date.now() + waitMs;
    shut.timer = asHost(() => setTimeout(() => this.#try(patient), waitMs));
    this.#logOf(patient).error(
      `is in quarantine: ${reason}. Its calls get a 503; it is tried again in ${Math.round(waitMs / 1000)} s, or as soon as its files change`,
    );
  }

  #try(patient: Patient): void {
    if (patient.shut === null) return;
    patient.shut = { ...patient.shut, nextTryAtMs: null, timer: null };
    if (this.#owner.tryAgain(patient.spec.id)) this.lift(patient.spec.id);
  }

  #logOf({ spec }: Patient): Log {
    return logWith(this.#settings.log, { module: spec.name, generation: spec.generation });
  }
}
